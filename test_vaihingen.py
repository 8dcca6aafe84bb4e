"""Test on ISPRS Vaihingen: masks and scores of a trained model.

python test_vaihingen.py -c config/vaihingen/bicor.py -o fig_results/vaihingen/bicor -t d4 --rgb
"""

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.test:run_test", __doc__, "vaihingen")
