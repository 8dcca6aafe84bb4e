"""Test on whole UAVid frames: RGB masks of their size in seqN/Labels, and scores where labels are.

python test_uavid.py -c config/uavid/d2ls.py -i data/uavid/uavid_test -o fig_results/uavid/d2ls
    -t lr -ph 1152 -pw 1024 -b 2 -d uavid
"""

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.test:run_frames_test", __doc__, "uavid")
