"""`python -m dsg_tf.data.prepare`."""

from dsg_tf.data.prepare import command

if __name__ == "__main__":
    command.run()
