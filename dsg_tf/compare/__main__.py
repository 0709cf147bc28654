"""`python -m dsg_tf.compare`."""

from dsg_tf.compare import command

if __name__ == "__main__":
    command.run()
