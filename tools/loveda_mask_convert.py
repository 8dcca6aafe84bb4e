"""Convert LoveDA masks from raw labels (0 no data, 1 to 7) to 0 to 6, and 7 for ignored pixels.

Run     python tools/loveda_mask_convert.py --mask-dir data/LoveDA/Train/Rural/masks_png
            --output-mask-dir data/LoveDA/Train/Rural/masks_png_convert
Writes  PNG files of labels to masks_png_convert, and of colors to masks_png_convert_rgb
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.loveda_mask_convert:main", __doc__)
