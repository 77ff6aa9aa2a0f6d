//! Blocks of addresses, for `trusted_peers`.

use std::net::IpAddr;

/// A CIDR block (RFC 4632, RFC 4291).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    bits: u128,
    prefix: u32,
    v4: bool,
}

impl Cidr {
    /// Parses `10.0.0.0/8`, `::1/128` or a bare address. `None` if it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().ok()?;
        let (bits, width, v4) = spread(address);
        let prefix = prefix.unwrap_or(width);
        (prefix <= width).then(|| Self {
            bits: mask(bits, prefix, width),
            prefix,
            v4,
        })
    }

    /// Whether the address lies in the block. IPv4-mapped IPv6 addresses count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (bits, width, v4) = spread(address.to_canonical());
        v4 == self.v4 && mask(bits, self.prefix, width) == self.bits
    }
}

fn spread(address: IpAddr) -> (u128, u32, bool) {
    match address {
        IpAddr::V4(a) => (u128::from(u32::from(a)), 32, true),
        IpAddr::V6(a) => (u128::from(a), 128, false),
    }
}

fn mask(bits: u128, prefix: u32, width: u32) -> u128 {
    let off = width - prefix;
    if off >= 128 { 0 } else { (bits >> off) << off }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_contain_what_their_prefix_says() {
        let block = Cidr::parse("10.1.0.0/16").expect("a block");
        assert!(block.contains("10.1.255.1".parse().expect("ip")));
        assert!(block.contains("::ffff:10.1.0.9".parse().expect("ip")));
        assert!(!block.contains("10.2.0.1".parse().expect("ip")));
        assert!(!block.contains("::1".parse().expect("ip")));
        assert!(
            Cidr::parse("0.0.0.0/0")
                .expect("all")
                .contains("1.2.3.4".parse().expect("ip"))
        );
        assert!(
            Cidr::parse("::/0")
                .expect("all")
                .contains("fe80::1".parse().expect("ip"))
        );
        assert_eq!(Cidr::parse("10.0.0.0/33"), None);
        assert_eq!(Cidr::parse("ten"), None);
    }
}
