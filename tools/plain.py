"""A stand-in: gives the notebook back as it is."""


def plain_notebook(notebook, name):
    return notebook
