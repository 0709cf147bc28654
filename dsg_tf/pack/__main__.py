"""`python -m dsg_tf.pack`."""

from dsg_tf.pack import command

if __name__ == "__main__":
    command.run()
