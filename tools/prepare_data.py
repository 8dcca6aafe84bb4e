"""Make, from the official archives, the folders that the configs read; one command is enough.

python tools/prepare_data.py vaihingen --archives ~/downloads/vaihingen
python tools/prepare_data.py potsdam --archives ~/downloads/potsdam
python tools/prepare_data.py loveda --archives ~/downloads/loveda

ISPRS   Vaihingen: ISPRS_semantic_labeling_Vaihingen.zip and the two ..._COMPLETE.zip; Potsdam:
        2_Ortho_RGB.zip, 5_Labels_all.zip and 5_Labels_for_all_no_Boundary.zip. Whole tiles go
        into the usual splits and are cut as the patch tools do
LoveDA  Train.zip, Val.zip, Test.zip: masks are converted; train_val is read from Train and Val

Unpacked folders work too. A second run goes on where the last one stopped.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.prepare_data:main", __doc__)
