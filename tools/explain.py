"""Look inside a trained network: heatmaps, pooled pixels, class embeddings, errors at borders.

Of a test   python tools/explain.py fig_results/demo
Of a run    python tools/explain.py model_weights/demo/bicor/version_0 -c config/demo/bicor.py
                -o fig_results/demo_explain

heatmaps_IMAGE.png shows where each layer sees each class, and pooled_IMAGE.png the pixels that each
class embedding is refined from. embeddings.png shows the class embeddings of many images, and
confusion.png how many errors lie at borders. The report of a test shows these figures, too.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.explain:main", __doc__)
