"""Test on your own data: masks and scores of a trained model, for any config.

python test_custom.py -c config/drone/bicor.py -o fig_results/drone/bicor -t dihedral --rgb
"""

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.test:run_test", __doc__)
