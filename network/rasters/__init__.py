"""Reading of raster files by GDAL: headers, pixels, valid pixels and the place on Earth."""
