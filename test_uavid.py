"""Test a trained model on whole UAVid frames, and write RGB masks, and scores if there are labels.

python test_uavid.py -c config/uavid/d2ls.py -i data/uavid/uavid_test -o fig_results/uavid/d2ls
    -t lr -ph 1152 -pw 1024 -b 2 -d uavid
"""

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.test:run_frames_test", __doc__, "uavid")
