"""What every server of misread needs: a listening socket, limits of bodies, names of hosts, tokens."""
