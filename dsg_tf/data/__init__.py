"""Files in, `Scene`s, TFRecords, `tf.data` batches out."""
