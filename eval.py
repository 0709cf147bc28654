"""Evaluates a trained model, or asks it about a photo: `python eval.py --model_dir=DIR --split=val`."""

from dsg_tf.evaluation import command

if __name__ == "__main__":
    command.run()
