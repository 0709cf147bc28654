"""Trains a model, then evaluates it: `python train.py --flagfile=configs/synthetic.flags`."""

from dsg_tf.training import command

if __name__ == "__main__":
    command.run()
