"""LLaMA-Factory trains directly from a Lance table.

An entry of `dataset_info.json` whose `file_name` is a Lance table loads its text columns; images stay in
the table as references and are read, a batch at a time, by the data collator.

Layers, each importing only those above it:
    spec, reference, errors      pure values: what is asked for, what an image is called, what can go wrong
    helper/                      runs in a process of its own: opens tables, scans, checks
    helper_client, fetch, sizes  the trainer's side: asks the helper, reads images, counts tokens
    patches/                     what is changed inside LLaMA-Factory, called by `hook`
"""

__version__ = "0.1.0"
