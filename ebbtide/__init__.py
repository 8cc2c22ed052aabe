"""The front door: the command line, `ebbtide up`, and the servers embedded in it."""
