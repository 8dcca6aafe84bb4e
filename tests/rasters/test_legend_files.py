"""Tables of classes: read as they were written, and as other programs write them."""

import pytest

from network.errors import InputError
from network.rasters.legend_files import NamedValue, read_attribute_table, write_attribute_table
from network.rasters.tiles import Legend

NAMES = ("roads & <paths>", "森林", "")
COLORS = ((255, 255, 255), (0, 1, 2), (9, 8, 7))


def test_what_was_written_is_read(tmp_path):
    legend = Legend(["class"], NAMES, COLORS)
    write_attribute_table(tmp_path / "a.tif", legend, [5, 0, 2**40])
    expected = zip(range(3), NAMES, COLORS, [5, 0, 2**40], strict=True)
    assert read_attribute_table(tmp_path / "a.tif") == [NamedValue(*row) for row in expected]


def test_a_table_of_another_program(tmp_path):
    """Fields stand in another order and have other names; numbers are written as reals."""
    (tmp_path / "a.tif.aux.xml").write_text(
        """<PAMDataset><PAMRasterBand band="2"/><PAMRasterBand band="1">
        <GDALRasterAttributeTable tableType="thematic">
        <FieldDefn index="0"><Name>Klasse</Name><Type>2</Type><Usage>2</Usage></FieldDefn>
        <FieldDefn index="1"><Name>OID</Name><Type>0</Type><Usage>0</Usage></FieldDefn>
        <FieldDefn index="2"><Name>Count</Name><Type>1</Type><Usage>1</Usage></FieldDefn>
        <FieldDefn index="3"><Name>Wert</Name><Type>0</Type><Usage>5</Usage></FieldDefn>
        <Row index="0"><F>Wald</F><F>7</F><F>12.0</F><F>3</F></Row>
        </GDALRasterAttributeTable></PAMRasterBand></PAMDataset>"""
    )
    assert read_attribute_table(tmp_path / "a.tif") == [NamedValue(3, "Wald", None, 12)]


def test_a_plain_list_of_names(tmp_path):
    (tmp_path / "a.tif.aux.xml").write_text(
        """<PAMDataset><PAMRasterBand band="1"><CategoryNames><Category/><Category>road</Category>
        </CategoryNames></PAMRasterBand></PAMDataset>"""
    )
    assert read_attribute_table(tmp_path / "a.tif") == [NamedValue(1, "road")]


def test_no_table(tmp_path):
    assert read_attribute_table(tmp_path / "a.tif") == []
    (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset><SRS>x</SRS></PAMDataset>")
    assert read_attribute_table(tmp_path / "a.tif") == []


@pytest.mark.parametrize("text", ["<PAMDataset>", "", "<a>&x;</a>"])
def test_a_damaged_table(tmp_path, text):
    (tmp_path / "a.tif.aux.xml").write_text(text)
    with pytest.raises(InputError, match=r"a\.tif\.aux\.xml: is damaged"):
        read_attribute_table(tmp_path / "a.tif")
