"""Answer images that come by HTTP with their masks, with a trained network.

python serve.py model_weights/demo/bicor/version_0/best.ckpt
curl --data-binary @photo.png -H "Content-Type: image/png" http://127.0.0.1:8000/predict -o mask.png

The service can only be reached from this machine, until a token and another --host are given.
Ctrl-C or SIGTERM ends it when all accepted images are answered. See docs/serve.md.
"""

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.serve:main", __doc__)
