from __future__ import annotations

from pathlib import Path

from tagformer.report import Table


def test_a_table_has_the_same_figures_as_markdown_csv_and_latex(tmp_path: Path) -> None:
    table = Table("Scores", ("run_1", "mAP", "n"), [("a|b & c", 0.12345, 7), ("d", float("nan"), 0)], "A note.")
    assert table.markdown() == (
        "**Scores**\n\n| run_1 | mAP | n |\n| :-- | --: | --: |\n| a\\|b & c | 12.3 | 7 |\n| d | – | 0 |\n\nA note.\n"
    )
    assert table.csv() == "run_1,mAP,n\na|b & c,0.12345,7\nd,,0\n"
    assert "run\\_1 & mAP & n \\\\\n\\midrule\na|b \\& c & 12.3 & 7 \\\\\nd & – & 0 \\\\" in table.latex()
    assert [path.name for path in table.write(tmp_path, "x")] == ["x.md", "x.csv", "x.tex"]
    assert (tmp_path / "x.tex").read_text() == table.latex()
