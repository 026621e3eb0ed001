"""An evaluation as papers print it: one line a group, one column a measure, in Markdown and LaTeX, and as plain CSV.

A cell is mean ± standard deviation over folds where two or more held all patients out, else the value over all
patients; the 95 % interval over patients follows in brackets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.files import write_text
from pipeline.dataset.tables import markdown_table, rows_text
from pipeline.evaluate.classes import CLASS_MEASURES
from pipeline.evaluate.evaluation import CLASSIFICATION, DETECTION, EVALUATION_DEFINITIONS, SEGMENTATION, Evaluation
from pipeline.evaluate.masks import LESION_MEASURES, MASK_MEASURES

PRINTED = {
    SEGMENTATION: (*MASK_MEASURES, *LESION_MEASURES),
    DETECTION: ("map50", "precision", "recall", "f1", "froc"),
    CLASSIFICATION: CLASS_MEASURES,
}
"""Measures of each task that a paper has room for; the CSV has all."""

TITLES = {
    "dice": "Dice (%)",
    "jaccard": "Jaccard (%)",
    "asd_mm": "ASD (mm)",
    "hd95_mm": "HD95 (mm)",
    "lesion_precision": "Lesion precision (%)",
    "lesion_recall": "Lesion recall (%)",
    "lesion_f1": "Lesion F1 (%)",
    "map50": "mAP50 (%)",
    "precision": "Precision (%)",
    "recall": "Recall (%)",
    "f1": "F1 (%)",
    "froc": "FROC (%)",
    "accuracy": "Accuracy (%)",
    "auc": "AUC (%)",
}
IN_MM = frozenset({"asd_mm", "hd95_mm"})
FIGURE_COLUMNS = ("task", "group", "value_of_group", "of", "measure", "patients", "volumes", "missing", "value")


def printed_rows(evaluation: Evaluation, task: str) -> list[dict[str, str]]:
    """The table of a task: its groups and what was measured down, measures across; columns without a value left out."""
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in evaluation.rows:
        if row["task"] == task and row["measure"] in PRINTED[task]:
            named = {"Group": _group(row), "Of": row["of"], "Patients": str(row["patients"])}
            line = lines.setdefault((row["group"], row["value_of_group"], row["of"]), named)
            line[TITLES[row["measure"]]] = cell(row)
    titles = [TITLES[measure] for measure in PRINTED[task]]
    used = [title for title in titles if any(line.get(title, "-") != "-" for line in lines.values())]
    heads = ("Group", "Of", "Patients")
    return [{title: line.get(title, "-") for title in (*heads, *used)} for line in lines.values()]


def cell(row: Mapping[str, Any]) -> str:
    """A figure as papers print it: "97.03 ± 0.43 [96.10, 97.80]", in percent but for millimetres; "-" if undefined."""
    factor = 1.0 if row["measure"] in IN_MM else 100.0
    if row["value"] is None:
        return "-"
    over_folds = f"{factor * row['fold_mean']:.2f} ± {factor * row['fold_sd']:.2f}" if row["folds"] > 1 else ""
    shown = over_folds or f"{factor * row['value']:.2f}"
    if row["ci_low"] is None:
        return shown
    return f"{shown} [{factor * row['ci_low']:.2f}, {factor * row['ci_high']:.2f}]"


def markdown(evaluation: Evaluation) -> str:
    """Every task as a table in Markdown, what is missing, and what each number means."""
    parts = [f"# Evaluation on version {evaluation.version}", *warnings_of(evaluation)]
    for task in tasks_of(evaluation):
        parts += [f"## {task.capitalize()}", markdown_table(printed_rows(evaluation, task))]
    meanings = [{"number": name, "meaning": meaning} for name, meaning in EVALUATION_DEFINITIONS.items()]
    return "\n\n".join([*parts, "## What the numbers mean", markdown_table(meanings)]) + "\n"


def latex(evaluation: Evaluation) -> str:
    """Every task as a table in LaTeX, for the package booktabs."""
    return "\n".join(latex_table(printed_rows(evaluation, task)) for task in tasks_of(evaluation))


def latex_table(rows: Sequence[Mapping[str, str]]) -> str:
    r"""Rows as a `tabular` with the rules of booktabs; "" without rows."""
    if not rows:
        return ""
    head = list(rows[0])
    lines = [" & ".join(map(_escaped, row.values())) + r" \\" for row in rows]
    ends = [rf"\begin{{tabular}}{{{'l' * 2}{'r' * (len(head) - 2)}}}", r"\toprule"]
    return "\n".join(
        [*ends, " & ".join(map(_escaped, head)) + r" \\", r"\midrule", *lines, r"\bottomrule", r"\end{tabular}", ""]
    )


def write_evaluation(evaluation: Evaluation, folder: Path) -> tuple[Path, ...]:
    """The tables of an evaluation, written into a folder: all figures, scores of masks, Markdown, LaTeX.

    Raises:
        StorageError: when a file cannot be written.
    """
    of_masks = {"evaluation_volumes.csv": rows_text((), evaluation.volumes)} if evaluation.volumes else {}
    texts = {
        "evaluation.csv": rows_text(FIGURE_COLUMNS, evaluation.rows),
        **of_masks,
        "evaluation.md": markdown(evaluation),
        "evaluation.tex": latex(evaluation),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return tuple(folder / name for name in texts)


def tasks_of(evaluation: Evaluation) -> list[str]:
    """The tasks that something was predicted for."""
    return list(dict.fromkeys(row["task"] for row in evaluation.rows))


def warnings_of(evaluation: Evaluation) -> Iterator[str]:
    """What a reader should know before believing the numbers: what is missing, and what nobody predicted."""
    for task, names in evaluation.missing.items():
        yield f"Missing, and counted as failed ({task}): {', '.join(names)}."
    if evaluation.left_out:
        yield f"Not measured, since nothing of it was predicted: {', '.join(evaluation.left_out)}."
    if evaluation.unused:
        yield f"Files that hold no prediction: {', '.join(evaluation.unused)}."


def _group(row: Mapping[str, Any]) -> str:
    return "all" if row["group"] == "all" else f"{row['group']}: {row['value_of_group']}"


_ESCAPES = {"\\": r"\textbackslash{}", "±": r"$\pm$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def _escaped(text: str) -> str:
    """A cell as LaTeX takes it."""
    return "".join(_ESCAPES.get(letter, rf"\{letter}" if letter in "&%$#_{}" else letter) for letter in text)
