"""Links, routes, resolvers, nftables and NetworkManager of a VM."""
