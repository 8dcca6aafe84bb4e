"""Test a trained model on ISPRS Vaihingen, and write masks and scores.

python test_vaihingen.py -c config/vaihingen/bicor.py -o fig_results/vaihingen/bicor -t d4 --rgb
"""

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.test:run_test", __doc__, "vaihingen")
