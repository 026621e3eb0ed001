"""What a function's result hangs on in this program: every definition it can reach, followed from import to import.

The walk starts at a function and takes what it names: functions, classes, constants, through any number of modules,
imports inside functions included. Of a class come its fields, what Python calls by itself, and those members whose name
is asked of anything on the way. Each module on the way adds what it does when it is imported; a definition that opens a
file of the program adds the file. Where a name cannot be followed, the whole module counts.
"""

from __future__ import annotations

import builtins
import hashlib
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from pipeline.core.errors import StorageError
from pipeline.core.files import write_atomically
from pipeline.core.source import SHORT, ClassPieces, Dotted, Piece, Source, Target, source_of

NAMED = 3
"""How many of all changes are named."""

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "pipeline"

Imports = Mapping[str, frozenset[Target]]

WHOLE = "*"
AT_IMPORT = "(at import)"
IMPORTS = "(imports)"

_SETTLED_BEFORE = frozenset({"cryptography", "pydantic"})
"""Packages whose version changes no result: they hand on what a file holds as it was written, or refuse it."""

_PLAIN_BASES = frozenset(
    {
        *("ABC", "BaseModel", "Enum", "Flag", "Generic", "IntEnum", "IntFlag"),
        *("NamedTuple", "Protocol", "StrEnum", "TypedDict"),
    }
)
"""Outside classes that call no member of a descendant by its name, but for the few that `Source` knows."""

_STARTS = frozenset({"__init__", "__post_init__", "__new__", "__init_subclass__", "__set_name__"})
"""Members that run when an object or a descendant is made."""

_DOERS = frozenset((name,) for name in ("__import__", "eval", "exec", "open", "setattr"))
"""Python's own functions that do more than give a value."""

_FILE_NAME = re.compile(r"[\w-][\w./-]{0,99}")

_OPENERS = ("importlib.resources.", "jinja2.PackageLoader.", "pkgutil.")
"""Ways to a file of the program, besides `__file__`."""

_DISTRIBUTIONS = {
    "PIL": "pillow",
    "SimpleITK": "simpleitk",
    "cc3d": "connected-components-3d",
    "cv2": "opencv-python-headless",
    "skimage": "scikit-image",
}
"""Distributions that are not called as what they install; `importlib.metadata` takes a third of a second to tell."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the walk takes for given.

    Attributes:
        ends: definitions that belong to nobody's result.
        by_field: classes of which only the fields that are asked for count.
        declared: classes whose objects stand for work of their own; what one is made of is not followed.
    """

    ends: frozenset[str] = frozenset()
    by_field: frozenset[str] = frozenset()
    declared: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Code:
    """What a result hangs on in the program.

    Attributes:
        definitions: hash by the dotted name of a definition, or the path of a file.
        packages: distributions of others that the definitions name, in order.
    """

    definitions: Mapping[str, str]
    packages: tuple[str, ...]

    @cached_property
    def digest(self) -> str:
        """One SHA-256 of all."""
        lines = (f"{name} {meaning}" for name, meaning in sorted(self.definitions.items()))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Home:
    """Where something is defined, or a module as a whole, and the attributes that are asked of it."""

    source: Source
    name: str
    asked: Dotted


class Program:
    """The modules and files below a folder, each read once.

    Attributes:
        root: the folder that holds the packages.
        limits: what is taken for given.
    """

    def __init__(self, root: Path = ROOT, limits: Limits = Limits()) -> None:
        self.root = root
        self.limits = limits
        self._sources: dict[str, Source | None] = {}

    def code_of(self, *roots: str) -> Code:
        """All that definitions reach, given by dotted name."""
        walk = _Walk(self, {root.partition(".")[0] for root in roots})
        for root in roots:
            walk.start(*self._split(root))
        return walk.finish()

    def source(self, module: str) -> Source | None:
        """A module below the root; None when there is no such module."""
        if module not in self._sources:
            path = self._path(module)
            is_package = path is not None and path.name == "__init__.py"
            self._sources[module] = source_of(module, path.read_bytes(), is_package=is_package) if path else None
        return self._sources[module]

    def folder(self, module: str) -> Path:
        """Where a module lies."""
        path = self._path(module)
        return path.parent if path else self.root

    def _path(self, module: str) -> Path | None:
        stem = self.root.joinpath(*module.split("."))
        return next((path for path in (stem / "__init__.py", stem.with_suffix(".py")) if path.is_file()), None)

    def _split(self, root: str) -> tuple[str, str]:
        module, _, name = root.rpartition(".")
        while self.source(module) is None and "." in module:
            module, _, name = module.rpartition(".")
        return module, name


@cache
def code_of(*roots: str, limits: Limits) -> Code:
    """All that definitions of this program reach; kept in the user's cache until a file of the program changes."""
    if not all(root.startswith(f"{PACKAGE}.") for root in roots):
        return _program(limits).code_of(*roots)
    memory, key = _memory(), " ".join(roots)
    if key not in memory:
        memory[key] = _program(limits).code_of(*roots)
        _remember(memory)
    return memory[key]


def name_of(definition: Callable[..., object]) -> str:
    """The dotted name of the definition, at the top of its module, that a function or class stands in."""
    path = Path(str(sys.modules[definition.__module__].__file__)).resolve().relative_to(ROOT)
    return ".".join([*path.with_suffix("").parts, definition.__qualname__.partition(".")[0]])


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The definitions and files that differ, the first few by name; those there are now before those that are gone."""
    differ = [name for name in {*before, *now} if before.get(name) != now.get(name)]
    differ.sort(key=lambda name: (name.endswith(")"), name not in now, name))
    more = f" and {len(differ) - NAMED} more" if len(differ) > NAMED else ""
    return ", ".join(differ[:NAMED]) + more


@cache
def _program(limits: Limits) -> Program:
    return Program(ROOT, limits)


@cache
def _memory() -> dict[str, Code]:
    """What was found by this very program before; to read it all again takes most of a second."""
    try:
        content = json.loads(_kept().read_bytes())
        known = content["code"] if content["program"] == _fingerprint() else {}
        return {key: Code(definitions, tuple(packages)) for key, (definitions, packages) in known.items()}
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        return {}


def _remember(memory: Mapping[str, Code]) -> None:
    if _fingerprint.__wrapped__() != _fingerprint():
        return  # a file changed while it was read
    known = {key: (code.definitions, code.packages) for key, code in memory.items()}
    with suppress(StorageError, RuntimeError):
        write_atomically(_kept(), json.dumps({"program": _fingerprint(), "code": known}).encode(), durable=False)


def _kept() -> Path:
    """One file for each place where the program is installed; `Path.home` raises where there is no home."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return folder / "liverset" / f"code-{_short(str(ROOT).encode())}.json"


@cache
def _fingerprint() -> str:
    """Changes with any file of the program."""
    folder = ROOT / PACKAGE
    files = sorted(file for file in folder.rglob("*") if "__pycache__" not in file.parts and file.is_file())
    return hashlib.sha256(b"".join(hashlib.sha256(_named(file, folder)).digest() for file in files)).hexdigest()


def _named(file: Path, folder: Path) -> bytes:
    return file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes()


class _Walk:
    """Reaches from definition to definition until nothing new turns up."""

    def __init__(self, program: Program, own: set[str]) -> None:
        self._reached: dict[str, str] = {}
        self._packages: set[str] = set()
        self._program = program
        self._limits = program.limits
        self._own = {PACKAGE, *own}
        self._waiting: list[tuple[Source, Piece]] = []
        self._at_import: list[tuple[Source, Piece]] = []
        self._imported: dict[str, set[str]] = defaultdict(set)
        self._loaded: set[str] = set()
        self._classes: dict[str, tuple[Source, ClassPieces]] = {}
        self._attributes: set[str] = set()
        self._texts: set[str] = set()
        self._by_word = False

    def start(self, module: str, name: str) -> None:
        """Take a definition into account."""
        source = self._load(module)
        if source is not None:
            self._reach(source, name if name in source.bindings else WHOLE)

    def finish(self) -> Code:
        """Everything there is to reach; packages that are only needed to import a module decide nothing."""
        self._run()
        packages = tuple(sorted(self._packages - _SETTLED_BEFORE))
        while self._at_import:
            self._waiting, self._at_import = self._at_import, []
            self._run()
        for module, names in self._imported.items():
            source = self._program.source(module)
            bound = [f"{name} {target}" for name in names for target in (source.imports[name] if source else ())]
            self._reached[f"{module} {IMPORTS}"] = _short("\n".join(sorted(bound)).encode())
        return Code(dict(sorted(self._reached.items())), packages)

    def _run(self) -> None:
        """Follow all that waits, and the members of classes whose names have turned up."""
        while self._waiting:
            self._follow(*self._waiting.pop())
            if not self._waiting:
                asked = self._attributes | self._texts if self._by_word else self._attributes
                for key, (source, pieces) in self._classes.items():
                    self._members(source, key, pieces, asked & pieces.members.keys())

    def _reach(self, source: Source, name: str) -> None:
        key = f"{source.name}.{name}"
        if key in self._reached or key in self._limits.ends:
            return
        if name == WHOLE:
            self._whole(source)
        elif name in source.classes:
            self._class(source, name)
        else:
            declared = self._declared(source, name)
            self._take(source, key, source.piece(name), follow=not declared)
            for home in declared:
                self._reach(home.source, home.name)

    def _whole(self, source: Source) -> None:
        self._reached[f"{source.name}.{WHOLE}"] = ""
        for name in (*source.bindings, *source.imports):
            self._resolve(source, {}, (name,))
        for key in self._classes.keys() & {f"{source.name}.{name}" for name in source.classes}:
            self._members(source, key, self._classes[key][1], self._classes[key][1].members)

    def _class(self, source: Source, name: str) -> None:
        key = f"{source.name}.{name}"
        pieces = source.class_pieces(name, by_field=key in self._limits.by_field)
        self._classes[key] = source, pieces
        self._take(source, key, pieces.head)
        if key not in self._limits.declared:
            self._members(source, key, pieces, pieces.members if self._is_open(source, name) else pieces.always)

    def _members(self, source: Source, key: str, pieces: ClassPieces, names: Iterable[str]) -> None:
        for name in names:
            if f"{key}.{name}" not in self._reached and f"{key}.{name}" not in self._limits.ends:
                self._take(source, f"{key}.{name}", pieces.members[name])

    def _take(self, source: Source, key: str, piece: Piece, *, follow: bool = True) -> None:
        self._reached[key] = piece.meaning
        if follow:
            self._waiting.append((source, piece))

    def _follow(self, source: Source, piece: Piece) -> None:
        self._attributes |= piece.attributes
        self._texts |= piece.texts
        self._by_word |= piece.by_word
        for target in piece.loads:
            self._load_target(target)
        opens = [self._resolve(source, piece.imports, name) for name in piece.names]
        for text in piece.texts:
            if self._names_module(text):
                self.start(text, WHOLE)
        if any(opens):
            self._files(source, piece.texts)

    def _resolve(self, source: Source, imports: Imports, name: Dotted) -> bool:
        """Reach what a name stands for; True when that is a way to a file of the program."""
        opens = name[0] == "__file__"
        for home in self._homes(source, imports, name, counts=True):
            if isinstance(home, Target):
                self._packages.update(_distribution(home))
                opens |= f"{home.module}.{home.name}.".startswith(_OPENERS)
            else:
                self._attributes.update(home.asked)
                self._reach(home.source, home.name)
        return opens

    def _homes(
        self, source: Source, imports: Imports, name: Dotted, *, counts: bool = False
    ) -> Iterator[_Home | Target]:
        """Where in the program, or outside, what a name stands for is defined; nothing for Python's own names.

        The imports on the way are part of the result when this counts, and not when it is only looked up.
        """
        head, asked = name[0], name[1:]
        if counts and head in source.imports:
            self._imported[source.name].add(head)
        for target in (*source.imports.get(head, ()), *imports.get(head, ())):
            yield from self._aimed(target, asked, counts=counts)
        if head in source.bindings:
            yield _Home(source, head, asked)
        elif head not in source.imports and head not in imports:
            for target in source.imports.get(WHOLE, ()):
                yield from self._aimed(Target(target.module, head), asked, counts=counts)

    def _aimed(self, target: Target, asked: Dotted, *, counts: bool) -> Iterator[_Home | Target]:
        if not self._is_own(target.module):
            yield target
            return
        module, path = target.module, [*filter(None, [target.name]), *asked]
        while path and self._is_below(module, path[0]):
            module = f"{module}.{path.pop(0)}"
        source = self._load(module)
        if source is None:
            return
        if path and (path[0] in source.bindings or path[0] in source.imports):
            yield from self._homes(source, {}, tuple(path), counts=counts)
        elif not (path and path[0].startswith("__")):
            yield _Home(source, WHOLE, tuple(path))

    def _is_below(self, module: str, name: str) -> bool:
        """True for a module in a package that binds the name to nothing else."""
        source = self._program.source(module)
        if source is None or self._program.source(f"{module}.{name}") is None:
            return False
        return name not in source.bindings and source.imports.get(name, set()) <= {Target(module, name)}

    def _load(self, module: str) -> Source | None:
        """A module after its import, which counts with all it does."""
        source = self._program.source(module)
        if source is None or module in self._loaded:
            return source
        self._loaded.add(module)
        self._load(module.rpartition(".")[0])
        for target in source.loads:
            self._load_target(target)
        does = source.at_import(statement for statement, called in source.calls if self._starts(source, called))
        if does is not None:
            self._reached[f"{module} {AT_IMPORT}"] = does.meaning
            self._at_import.append((source, does))
        return source

    def _load_target(self, target: Target) -> None:
        if self._is_own(target.module):
            self._load(target.module)
            if target.name and self._is_below(target.module, target.name):
                self._load(f"{target.module}.{target.name}")

    def _starts(self, source: Source, called: Dotted) -> bool:
        """True when a call, made at import for the sake of a name, runs code of ours, which may do more than that."""
        if called in _DOERS:
            return True
        return any(isinstance(home, _Home) and self._runs(home) for home in self._homes(source, {}, called))

    def _runs(self, home: _Home) -> bool:
        if home.name not in home.source.classes:
            return True
        pieces = home.source.class_pieces(home.name)
        asked = _STARTS if not home.asked else home.asked
        of_bases = (found for base in pieces.bases for found in self._homes(home.source, {}, base))
        return any(name in pieces.members for name in asked) or any(
            isinstance(base, _Home) and self._runs(replace(base, asked=home.asked)) for base in of_bases
        )

    def _declared(self, source: Source, name: str) -> list[_Home]:
        """The class of an object that stands for work of its own; nothing for any other name."""
        homes = [home for called in source.made_by(name) for home in self._homes(source, {}, called)]
        declared = self._limits.declared
        return [home for home in homes if isinstance(home, _Home) and f"{home.source.name}.{home.name}" in declared]

    def _is_open(self, source: Source, name: str) -> bool:
        """True when a class descends from one outside that may call any of its members, or from nobody knows what."""
        if name not in source.classes:
            return True
        for base in source.class_pieces(name).bases:
            homes = list(self._homes(source, {}, base))
            if not homes and base[0] not in dir(builtins):
                return True
            for home in homes:
                if isinstance(home, Target):
                    if base[-1] not in _PLAIN_BASES:
                        return True
                elif self._is_open(home.source, home.name):
                    return True
        return False

    def _files(self, source: Source, texts: Iterable[str]) -> None:
        """Files of the program that a definition opens: those it names, or all beside its module."""
        program = self._program
        packages = (program.folder(text) for text in texts if self._names_module(text))
        folders = [program.folder(source.name), *packages]
        names = [text for text in texts if _FILE_NAME.fullmatch(text)]
        named = [path for folder in folders for name in names if (path := folder / name).exists()]
        for file in (file for path in named or folders for file in _data_files(path)):
            content = _content_of(file)
            self._reached[file.relative_to(program.root).as_posix()] = _short(content)
            if file.suffix == ".j2":
                self._attributes.update(_asked_by_template(content.decode()))

    def _names_module(self, text: str) -> bool:
        is_name = all(part.isidentifier() for part in text.split("."))
        return is_name and self._is_own(text) and self._program.source(text) is not None

    def _is_own(self, module: str) -> bool:
        return module.partition(".")[0] in self._own


def _distribution(target: Target) -> list[str]:
    """What an import from outside needs installed; nothing for Python's own modules."""
    top = target.module.partition(".")[0]
    return [] if top in sys.stdlib_module_names else [_DISTRIBUTIONS.get(top, top.replace("_", "-"))]


def _data_files(path: Path) -> list[Path]:
    """A file, or all below a folder that are not modules, hidden, or there for people to read."""
    if path.is_file():
        return [path]
    found = (file for file in path.rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc"))
    wanted = (file for file in found if file.name != "README.md")
    return sorted(file for file in wanted if not any(part.startswith(".") for part in file.relative_to(path).parts))


def _content_of(file: Path) -> bytes:
    """A file's bytes; a text's with the same line ends everywhere."""
    content = file.read_bytes()
    return content if b"\0" in content else content.replace(b"\r\n", b"\n")


def _asked_by_template(text: str) -> Iterator[str]:
    """Every word in the places that a Jinja template fills in, among them the attributes it asks for."""
    for place in re.findall(r"\{[{%].*?[%}]\}", text, re.DOTALL):
        yield from re.findall(r"[A-Za-z_]\w*", place)


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:SHORT]
