"""Test on LoveDA: masks and scores of a trained model.

python test_loveda.py -c config/loveda/bicor.py -o fig_results/loveda/bicor -t d4 --rgb
"""

from network.datasets.info import LOVEDA
from network.engine.test_command import run_test
from network.errors import run_command

if __name__ == "__main__":
    run_command(lambda: run_test(__doc__, LOVEDA))
