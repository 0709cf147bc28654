"""Systems trained on the same data and compared by the same metric: `python -m dsg_tf.compare`."""
