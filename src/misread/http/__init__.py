"""What every server of misread needs: a listening socket, limits of bodies, headers of answers, hosts and tokens."""
