"""Names of the values of a map: those that this project writes, and those of other programs."""

import pytest

from network.errors import InputError
from network.rasters.legend_files import NamedValue, read_attribute_table, write_attribute_table
from network.rasters.tiles import Legend

CATEGORIES = """<PAMDataset><PAMRasterBand band="2"><CategoryNames><Category>no</Category>
</CategoryNames></PAMRasterBand><PAMRasterBand band="1"><CategoryNames><Category />
<Category>water</Category><Category>wood &amp; meadow</Category></CategoryNames>
</PAMRasterBand></PAMDataset>"""

TABLE = """<PAMDataset><PAMRasterBand band="1"><GDALRasterAttributeTable tableType="thematic">
<FieldDefn index="0"><Name>Count</Name><Type>0</Type><Usage>1</Usage></FieldDefn>
<FieldDefn index="1"><Name>Class</Name><Type>2</Type><Usage>2</Usage></FieldDefn>
<FieldDefn index="2"><Name>Value</Name><Type>1</Type><Usage>5</Usage></FieldDefn>
<Row index="0"><F>4</F><F>Tree cover</F><F>10.0</F></Row>
<Row index="1"><F>4</F><F></F><F>15</F></Row>
<Row index="2"><F>4</F><F>half</F><F>1.5</F></Row>
<Row index="3"><F>4</F><F>Shrubland</F><F>20</F></Row>
<Row index="4"><F>4</F></Row>
</GDALRasterAttributeTable></PAMRasterBand></PAMDataset>"""


def test_round_trip(tmp_path):
    names = ("road", "house & <garden>", "Bäume")
    colors = ((1, 2, 3), (4, 5, 6), (255, 0, 0))
    write_attribute_table(tmp_path / "map.tif", Legend(["class"], names, colors), [5, 0, 7])
    found = read_attribute_table(tmp_path / "map.tif")
    assert found == [NamedValue(n, names[n], colors[n]) for n in range(3)]


def test_categories(tmp_path):
    (tmp_path / "map.tif.aux.xml").write_text(CATEGORIES)
    named = [NamedValue(1, "water"), NamedValue(2, "wood & meadow")]
    assert read_attribute_table(tmp_path / "map.tif") == named


def test_table_of_another_program(tmp_path):
    (tmp_path / "map.tif.aux.xml").write_text(TABLE)
    named = [NamedValue(10, "Tree cover"), NamedValue(20, "Shrubland")]
    assert read_attribute_table(tmp_path / "map.tif") == named


@pytest.mark.parametrize("text", ["<PAMDataset/>", "<PAMDataset><PAMRasterBand/></PAMDataset>"])
def test_no_names(tmp_path, text):
    assert read_attribute_table(tmp_path / "map.tif") == []
    (tmp_path / "map.tif.aux.xml").write_text(text)
    assert read_attribute_table(tmp_path / "map.tif") == []


def test_damaged(tmp_path):
    (tmp_path / "map.tif.aux.xml").write_text(CATEGORIES[:90])
    with pytest.raises(InputError, match=r"map.tif.aux.xml: is damaged"):
        read_attribute_table(tmp_path / "map.tif")
