"""How results leave: streams, final results, the spool."""
