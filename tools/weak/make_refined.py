"""Refined maps of the positive tiles: step 8 of the chain.

python tools/weak/make_refined.py -c config/weak/potsdam.py --work fig_results/weak/potsdam
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.run_chain:run_one", __doc__, "make_refined")
