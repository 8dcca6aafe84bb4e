"""Test a trained model on ISPRS Potsdam, and write masks and scores.

python test_potsdam.py -c config/potsdam/bicor.py -o fig_results/potsdam/bicor -t d4 --rgb
"""

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.test:run_test", __doc__, "potsdam")
