"""Test a trained model on LoveDA, and write masks and scores.

python test_loveda.py -c config/loveda/bicor.py -o fig_results/loveda/bicor -t d4 --rgb
"""

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.test:run_test", __doc__, "loveda")
