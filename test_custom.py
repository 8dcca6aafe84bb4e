"""Test a trained model on your own data, and write masks and scores; any config works.

python test_custom.py -c config/drone/bicor.py -o fig_results/drone/bicor -t dihedral --rgb
"""

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.test:run_test", __doc__)
