"""A page in the browser that asks a model about pictures.

The page is its own HTML, CSS and JavaScript, which load nothing from other hosts: Gradio (6.31) is 76 MB, asks Google
for fonts and its makers for news, and has no graph whose nodes show their boxes.
"""
