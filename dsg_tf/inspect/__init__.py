"""A prepared data set as a page to look at before a training: `python -m dsg_tf.inspect`."""
