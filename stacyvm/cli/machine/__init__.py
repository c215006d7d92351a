"""Preparing this machine: packages, the Docker engine, gVisor, and the rights to do so."""
