"""From annotation files and images to a prepared data set: `python -m dsg_tf.data.prepare`."""
