"""Why an engine ended: patterns of its log and of its exit, each with a class and a sentence."""
