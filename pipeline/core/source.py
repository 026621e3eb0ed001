"""A source file in pieces: what each definition means, as a hash, and which names it asks of others.

The hash is of the syntax tree, written so that every supported Python writes it alike. Left out is what decides no
result: comments, layout, docstrings, the names of types, imports for type checkers. Annotations of a class's fields
stay, since pydantic and dataclasses act on them.
"""

from __future__ import annotations

import ast
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

SHORT = 16
"""Hexadecimal digits of a piece's hash: 64 bits tell a few thousand pieces apart."""

INERT_DECORATORS = frozenset(
    {
        *("abstractmethod", "cache", "cached_property", "classmethod", "contextmanager", "dataclass", "final"),
        *("lru_cache", "overload", "override", "property", "setter", "staticmethod", "total_ordering", "wraps"),
    }
)
"""Decorators that keep no list of what they decorate and read no annotation of a function."""

_SILENT_FIELDS = frozenset({"ctx", "kind", "type_comment"})
_BY_WORD = frozenset({"getattr", "hasattr", "setattr", "attrgetter", "methodcaller", "vars", "__dict__", "dir"})

Dotted = tuple[str, ...]
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Target:
    """What an import names: a module, or a name in it."""

    module: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A definition, or what a module does when it is imported.

    Attributes:
        meaning: hash of its syntax tree.
        names: the names it takes from its module, with the attributes asked of them: `np.linalg.norm`.
        attributes: the attributes it asks of anything else.
        texts: its string constants.
        imports: the imports it makes itself, by the name each binds.
        loads: what those imports load, whether or not their names are used.
        by_word: True when it asks for attributes by names that are computed.
    """

    meaning: str
    names: frozenset[Dotted]
    attributes: frozenset[str]
    texts: frozenset[str]
    imports: Mapping[str, frozenset[Target]]
    loads: frozenset[Target]
    by_word: bool


@dataclass(frozen=True, slots=True)
class ClassPieces:
    """A class: its head with the fields, and each function in it.

    Attributes:
        head: everything but the functions.
        members: functions by name; a property and its setter share one.
        always: members that are called, by Python, a decorator's package or the class itself, as no attribute.
        bases: the classes it descends from.
    """

    head: Piece
    members: Mapping[str, Piece]
    always: frozenset[str]
    bases: tuple[Dotted, ...]


class Source:
    """One module, read as far as it is asked for.

    Attributes:
        name: dotted name of the module.
        imports: targets by the name that an import of the module binds.
        loads: every target that is imported when the module is.
        bindings: statements by the name they bind.
    """

    def __init__(self, name: str, content: bytes, *, is_package: bool) -> None:
        self.name = name
        self.imports: dict[str, set[Target]] = defaultdict(set)
        self.loads: list[Target] = []
        self.bindings: dict[str, list[ast.stmt]] = defaultdict(list)
        self._package = name if is_package else name.rpartition(".")[0]
        self._unconditional: list[ast.stmt] = []
        self._pieces: dict[str, Piece] = {}
        self._class_pieces: dict[tuple[str, bool], ClassPieces] = {}
        for statement in ast.parse(content).body:
            self._sort(statement)

    @cached_property
    def classes(self) -> frozenset[str]:
        """Names that one class statement binds, and nothing else."""
        alone = (name for name, found in self.bindings.items() if [type(one) for one in found] == [ast.ClassDef])
        return frozenset(alone)

    def piece(self, name: str) -> Piece:
        """What a name of the module means, a class as a whole."""
        if name not in self._pieces:
            self._pieces[name] = _piece_of(self.bindings[name], self._package)
        return self._pieces[name]

    def class_pieces(self, name: str, *, by_field: bool = False) -> ClassPieces:
        """A class of the module; by field, each of its fields is a member too."""
        (found,) = self.bindings[name]
        if (name, by_field) not in self._class_pieces and isinstance(found, ast.ClassDef):
            self._class_pieces[name, by_field] = _class_pieces(found, self._package, by_field=by_field)
        return self._class_pieces[name, by_field]

    @cached_property
    def calls(self) -> tuple[tuple[ast.stmt, Dotted], ...]:
        """What is called when the module is imported, for the sake of a name: the statement, and the callee."""
        found = {id(statement): statement for statements in self.bindings.values() for statement in statements}
        return tuple((statement, callee) for statement in found.values() for callee in _calls_at_import(statement))

    def made_by(self, name: str) -> Iterator[Dotted]:
        """What is called to make the object that a name stands for."""
        for statement in self.bindings[name]:
            if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
                yield _dotted(statement.value.func)

    def at_import(self, chosen: Iterable[ast.stmt] = ()) -> Piece | None:
        """What the module does when it is imported, with the bindings chosen; None when that is nothing."""
        statements = {id(statement): statement for statement in (*self._unconditional, *chosen)}
        inner = sorted(statements.values(), key=lambda statement: statement.lineno)
        return _piece_of(inner, self._package) if inner else None

    def _sort(self, statement: ast.stmt) -> None:
        if _is_idle(statement):
            return
        if isinstance(statement, ast.Import | ast.ImportFrom):
            self._import(statement)
        elif isinstance(statement, Function | ast.ClassDef):
            self.bindings[statement.name].append(statement)
            if not all(map(_is_inert, statement.decorator_list)):
                self._unconditional.append(statement)
        elif isinstance(statement, ast.If) and _is_for_type_checkers(statement):
            for other in statement.orelse:
                self._sort(other)
        else:
            self._bind(statement)

    def _import(self, statement: ast.Import | ast.ImportFrom) -> None:
        for name, target in _targets_of(statement, self._package):
            self.imports[name].add(target)
        self.loads += _loads_of(statement, self._package)

    def _bind(self, statement: ast.stmt) -> None:
        """An assignment, or a statement that does something and may bind names on the way."""
        for node in _at_import(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._import(node)
            elif isinstance(node, Function | ast.ClassDef):
                self.bindings[node.name].append(statement)
            elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                self.bindings[node.id].append(statement)
        if not _only_binds(statement):
            self._unconditional.append(statement)


@lru_cache(maxsize=1024)
def source_of(name: str, content: bytes, *, is_package: bool) -> Source:
    """A module with this content, read once a process."""
    return Source(name, content, is_package=is_package)


def _targets_of(statement: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, Target]]:
    """The names that an import binds, and what each stands for."""
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            whole, top = alias.name, alias.name.partition(".")[0]
            yield (alias.asname, Target(whole)) if alias.asname else (top, Target(top))
        return
    module = _module_of(statement, package)
    if module != "__future__":
        yield from ((alias.asname or alias.name, Target(module, alias.name)) for alias in statement.names)


def _loads_of(statement: ast.Import | ast.ImportFrom, package: str) -> list[Target]:
    """What an import loads, whether or not its names are used."""
    if isinstance(statement, ast.Import):
        return [Target(alias.name) for alias in statement.names]
    return [target for _, target in _targets_of(statement, package)]


def _piece_of(statements: Iterable[ast.AST], package: str) -> Piece:
    """Statements of a module as one piece."""
    reader = _Reader(package)
    for statement in statements:
        reader.read(statement)
    return reader.piece()


def _module_of(statement: ast.ImportFrom, package: str) -> str:
    if not statement.level:
        return statement.module or ""
    above = package.split(".")[: len(package.split(".")) - statement.level + 1]
    return ".".join([*above, *filter(None, [statement.module])])


def _is_idle(statement: object) -> bool:
    """True for what does nothing: a docstring, a text below a constant, `pass`."""
    if isinstance(statement, ast.Pass):
        return True
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _is_for_type_checkers(statement: ast.If) -> bool:
    test = statement.test
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _only_binds(statement: ast.stmt) -> bool:
    """True for an assignment to plain names, which matters only to whoever uses them."""
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
        targets = [statement.target]
    else:
        return type(statement).__name__ == "TypeAlias"
    return not any(isinstance(node, ast.Attribute | ast.Subscript) for target in targets for node in ast.walk(target))


def _at_import(statement: ast.AST) -> Iterator[ast.AST]:
    """Everything of a statement that runs when the module is imported: bodies of functions do not."""
    waiting = [statement]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.Lambda):
            waiting.append(node.args)
        elif isinstance(node, Function):
            waiting += (node.args, *node.decorator_list)
        else:
            waiting += ast.iter_child_nodes(node)


def _calls_at_import(statement: ast.stmt) -> Iterator[Dotted]:
    """Whatever is called, or decorates, when a statement is run; ("",) for what has no name."""
    for node in _at_import(statement):
        if isinstance(node, ast.Call):
            yield _dotted(node.func)
        elif isinstance(node, Function | ast.ClassDef):
            found = (_dotted(decorator) for decorator in node.decorator_list if not isinstance(decorator, ast.Call))
            yield from (name for name in found if name[-1] not in INERT_DECORATORS)
        if isinstance(node, ast.ClassDef):
            yield from ((*_dotted(base), "__init_subclass__") for base in node.bases)


def _dotted(node: ast.AST) -> Dotted:
    """The parts of `a.b.c`; an empty first part where it is asked of something without a name."""
    if isinstance(node, ast.Attribute):
        return (*_dotted(node.value), node.attr)
    return (node.id,) if isinstance(node, ast.Name) else ("",)


def _is_inert(decorator: ast.expr) -> bool:
    return _dotted(decorator.func if isinstance(decorator, ast.Call) else decorator)[-1] in INERT_DECORATORS


def _class_pieces(found: ast.ClassDef, package: str, *, by_field: bool) -> ClassPieces:
    functions = [statement for statement in found.body if isinstance(statement, Function)]
    fields = {id(statement): name for statement in found.body if by_field and (name := _field_of(statement))}
    own: dict[str, list[ast.AST]] = defaultdict(list)
    for function in functions:
        own[function.name].append(function)
    for statement in found.body:
        if id(statement) in fields:
            own[fields[id(statement)]].append(_class_of(found, [statement]))
    head = [statement for statement in found.body if statement not in functions and id(statement) not in fields]
    bases = [_dotted(base.value if isinstance(base, ast.Subscript) else base) for base in found.bases]
    bases += [("",) for keyword in found.keywords if keyword.arg == "metaclass"]
    members = {name: _piece_of(statements, package) for name, statements in own.items()}
    whole = _piece_of([_class_of(found, head)], package)
    called = {function.name for function in functions if _is_called_unnamed(function)}
    called |= members.keys() & {name[0] for piece in (whole, *members.values()) for name in piece.names}
    return ClassPieces(whole, members, frozenset(called), tuple(bases))


def _field_of(statement: ast.stmt) -> str | None:
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return statement.target.id
    return None


def _is_called_unnamed(function: Function) -> bool:
    """True for what Python or pydantic calls by itself, as `__eq__` and `_missing_`, and for what a decorator keeps."""
    by_python = function.name.startswith("_") and function.name.endswith("_")
    return by_python or function.name == "model_post_init" or not all(map(_is_inert, function.decorator_list))


def _class_of(found: ast.ClassDef, body: list[ast.stmt]) -> ast.ClassDef:
    """The same class with another body."""
    parts = {name: getattr(found, name) for name in found._fields} | {"body": body}
    return ast.ClassDef(**parts)


@dataclass(slots=True)
class _Scope:
    """Names used and bound by one function, class or comprehension."""

    is_class: bool = False
    used: set[Dotted] = field(default_factory=set)
    bound: set[str] = field(default_factory=set)
    outer: set[str] = field(default_factory=set)


class _Reader:
    """Writes down the meaning of syntax, and notes what it asks for."""

    def __init__(self, package: str) -> None:
        self._package = package
        self._words: list[str] = []
        self._scopes = [_Scope()]
        self._attributes: set[str] = set()
        self._texts: set[str] = set()
        self._imports: dict[str, set[Target]] = defaultdict(set)
        self._loads: set[Target] = set()
        self._by_word = False
        self._listed: dict[str, list[object]] = {}
        self._is_annotation = False

    def piece(self) -> Piece:
        """All that was read."""
        (module,) = self._scopes
        return Piece(
            meaning=hashlib.sha256("\0".join(self._words).encode("utf-8", "surrogatepass")).hexdigest()[:SHORT],
            names=frozenset(module.used),
            attributes=frozenset(self._attributes),
            texts=frozenset(self._texts),
            imports={name: frozenset(targets) for name, targets in self._imports.items()},
            loads=frozenset(self._loads),
            by_word=self._by_word,
        )

    def read(self, node: ast.AST) -> None:
        """Write down a node and all below it."""
        special = _SPECIAL.get(type(node))
        if special is None:
            self._plain(node)
        else:
            special(self, node)

    def _plain(self, node: ast.AST, *, without: tuple[str, ...] = ()) -> None:
        self._words.append(f"{type(node).__name__}(")
        for name in node._fields:
            value = getattr(node, name, None)
            if value is not None and value != [] and name not in _SILENT_FIELDS and name not in without:
                self._words.append(name)
                self._value(value)
        self._words.append(")")

    def _value(self, value: object) -> None:
        if isinstance(value, ast.AST):
            self.read(value)
        elif isinstance(value, list):
            self._words.append("[")
            for one in value:
                if not _is_idle(one):
                    self._value(one)
            self._words.append("]")
        else:
            self._words.append(str(value))

    def _name(self, node: ast.Name) -> None:
        self._words += ("Name", node.id)
        if isinstance(node.ctx, ast.Load):
            self._use((node.id,))
        else:
            self._scopes[-1].bound.add(node.id)

    def _attribute(self, node: ast.Attribute) -> None:
        self._words += ("Attribute", node.attr)
        parts = _dotted(node)
        if parts[0]:
            self._words += parts
            self._use(parts)
        else:
            self._attributes.add(node.attr)
            self.read(node.value)
        self._by_word |= node.attr in _BY_WORD

    def _use(self, name: Dotted) -> None:
        self._scopes[-1].used.add(name)
        self._by_word |= name[0] in _BY_WORD

    def _call(self, node: ast.Call) -> None:
        """`getattr(x, "name")` asks for a name as `x.name` does."""
        name = node.func.id if isinstance(node.func, ast.Name) else None
        word = node.args[1] if name in ("getattr", "hasattr", "setattr") and len(node.args) > 1 else None
        words = [word.value] if isinstance(word, ast.Constant) else self._listed.get(getattr(word, "id", ""))
        if words:
            self._attributes.update(map(str, words))
            self._words += ("Call", str(name))
            self._plain(node, without=("func",))
        else:
            self._plain(node)

    def _for(self, node: ast.For) -> None:
        """A name that runs through a written list is as good as the words in it, while the loop binds it."""
        listed = getattr(node.iter, "elts", [])
        words: list[object] = [one.value for one in listed if isinstance(one, ast.Constant)]
        name = getattr(node.target, "id", "")
        bound = sum(isinstance(one, ast.Name) and one.id == name for one in _stores(node))
        if bound == 1 and len(words) == len(listed):
            self._listed[name] = words
        self._plain(node)
        self._listed.pop(name, None)

    def _constant(self, node: ast.Constant) -> None:
        value = node.value
        text = value if isinstance(value, str) else repr(value)
        self._words += (type(value).__name__, str(len(text)), text)
        if isinstance(value, str):
            self._texts.add(value)
            if self._is_annotation:
                self._use((value,))

    def _joined(self, node: ast.JoinedStr) -> None:
        """Neighbouring texts as one: Pythons cut them differently."""
        self._words.append("JoinedStr(")
        text = ""
        for part in [*node.values, None]:
            if isinstance(part, ast.Constant):
                text += str(part.value)
                continue
            if text:
                self._constant(ast.Constant(text))
            text = ""
            if part is not None:
                self.read(part)
        self._words.append(")")

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        self._plain(node)
        for name, target in _targets_of(node, self._package):
            self._imports[name].add(target)
        self._loads.update(_loads_of(node, self._package))

    def _if(self, node: ast.If) -> None:
        if _is_for_type_checkers(node):
            self._value(node.orelse)
        else:
            self._plain(node)

    def _annotated(self, node: ast.AnnAssign) -> None:
        scope = self._scopes[-1]
        if scope.is_class:
            self._words.append("AnnAssign")
            self._is_annotation = True
            self.read(node.annotation)
            self._is_annotation = False
        if node.value is not None:
            self._plain(ast.Assign([node.target], node.value))
        elif scope.is_class:
            self.read(node.target)

    def _function(self, node: Function) -> None:
        self._scopes[-1].bound.add(node.name)
        self._words += (type(node).__name__, node.name)
        self._value(node.decorator_list)
        self._arguments(node.args, annotated=not all(map(_is_inert, node.decorator_list)))
        self._enter(_Scope(bound=_arguments_of(node.args)))
        self._value(node.body)
        self._leave()

    def _lambda(self, node: ast.Lambda) -> None:
        self._words.append("Lambda")
        self._arguments(node.args)
        self._enter(_Scope(bound=_arguments_of(node.args)))
        self.read(node.body)
        self._leave()

    def _arguments(self, found: ast.arguments, *, annotated: bool = False) -> None:
        for kind in ("posonlyargs", "args", "vararg", "kwonlyargs", "kwarg"):
            value = getattr(found, kind)
            arguments = value if isinstance(value, list) else [value] if value else []
            self._words += (kind, *(argument.arg for argument in arguments), ")")
            for argument in arguments:
                if annotated and argument.annotation:
                    self.read(argument.annotation)
        self._value(found.defaults)
        self._value([one or ast.Constant(NotImplemented) for one in found.kw_defaults])

    def _class(self, node: ast.ClassDef) -> None:
        self._scopes[-1].bound.add(node.name)
        self._words += ("ClassDef", node.name)
        for part in (node.decorator_list, node.bases, node.keywords):
            self._value(part)
        self._enter(_Scope(is_class=True))
        self._value(node.body)
        self._leave()

    def _comprehension(self, node: ast.AST) -> None:
        self._enter(_Scope())
        self._plain(node)
        self._leave()

    def _outer(self, node: ast.Global | ast.Nonlocal) -> None:
        self._plain(node)
        self._scopes[-1].outer.update(node.names)
        self._scopes[-1].used.update((name,) for name in node.names)

    def _binding(self, node: ast.ExceptHandler | ast.MatchAs | ast.MatchStar | ast.MatchMapping) -> None:
        name = node.rest if isinstance(node, ast.MatchMapping) else node.name
        if name:
            self._scopes[-1].bound.add(name)
        self._plain(node)

    def _class_pattern(self, node: ast.MatchClass) -> None:
        self._attributes.update(node.kwd_attrs)
        self._plain(node)

    def _enter(self, scope: _Scope) -> None:
        self._scopes.append(scope)

    def _leave(self) -> None:
        """Hand on what a scope uses and does not bind; methods do not see what their class binds."""
        scope = self._scopes.pop()
        local = set() if scope.is_class else scope.bound - scope.outer
        for name in scope.used:
            if name[0] in local:
                self._attributes.update(name[1:])
            else:
                self._scopes[-1].used.add(name)


def _stores(node: ast.AST) -> list[ast.AST]:
    return [one for one in ast.walk(node) if isinstance(getattr(one, "ctx", None), ast.Store)]


def _arguments_of(found: ast.arguments) -> set[str]:
    single = [argument for argument in (found.vararg, found.kwarg) if argument]
    return {argument.arg for argument in (*found.posonlyargs, *found.args, *found.kwonlyargs, *single)}


_SPECIAL: dict[type[ast.AST], Callable[[_Reader, Any], None]] = {
    ast.AnnAssign: _Reader._annotated,
    ast.AsyncFunctionDef: _Reader._function,
    ast.Attribute: _Reader._attribute,
    ast.Call: _Reader._call,
    ast.ClassDef: _Reader._class,
    ast.Constant: _Reader._constant,
    ast.DictComp: _Reader._comprehension,
    ast.ExceptHandler: _Reader._binding,
    ast.For: _Reader._for,
    ast.FunctionDef: _Reader._function,
    ast.GeneratorExp: _Reader._comprehension,
    ast.Global: _Reader._outer,
    ast.If: _Reader._if,
    ast.Import: _Reader._import,
    ast.ImportFrom: _Reader._import,
    ast.JoinedStr: _Reader._joined,
    ast.Lambda: _Reader._lambda,
    ast.ListComp: _Reader._comprehension,
    ast.MatchAs: _Reader._binding,
    ast.MatchClass: _Reader._class_pattern,
    ast.MatchMapping: _Reader._binding,
    ast.MatchStar: _Reader._binding,
    ast.Name: _Reader._name,
    ast.Nonlocal: _Reader._outer,
    ast.SetComp: _Reader._comprehension,
}
