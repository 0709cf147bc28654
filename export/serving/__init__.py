"""The local server: TF Serving's protocol without TF Serving."""
