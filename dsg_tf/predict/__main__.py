"""`python -m dsg_tf.predict`."""

from dsg_tf.predict import command

if __name__ == "__main__":
    command.run()
