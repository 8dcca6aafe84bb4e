"""Train the experiment of a config.

python train.py -c config/vaihingen/bicor.py
python train.py -c config/loveda/bicor.py --devices 2 data.batch_size=4 optim.lr=1e-4
python train.py -c config/vaihingen/bicor.py --resume
"""

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.train:main", __doc__)
