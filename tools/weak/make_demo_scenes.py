"""Make synthetic tiles with and without a building, to try the chain from image-level labels.

Run      python tools/weak/make_demo_scenes.py
Makes    <output>/{train,test}/{images,masks}/*.png     every other tile shows a building
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.make_demo_scenes:main", __doc__)
