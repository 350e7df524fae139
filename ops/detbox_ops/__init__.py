"""The compiled libraries of detbox, as plain files; `build.json` says what was built and why not.

detbox loads them by their C interface (`csrc/interface.h`), so they fit every version of torch.
"""
