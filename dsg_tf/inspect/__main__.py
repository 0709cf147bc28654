"""`python -m dsg_tf.inspect`."""

from dsg_tf.inspect import command

if __name__ == "__main__":
    command.run()
