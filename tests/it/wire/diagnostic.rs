//! CBOR as text, in the diagnostic notation of RFC 8949 §8, for the reader of a vector.

/// Of bytes that have passed the gate.
pub fn notation(bytes: &[u8]) -> String {
    let mut out = String::new();
    let rest = item(bytes, &mut out);
    assert!(rest.is_empty(), "one item");
    out
}

fn item<'a>(bytes: &'a [u8], out: &mut String) -> &'a [u8] {
    let (major, argument, mut rest) = head(bytes);
    match major {
        0 => out.push_str(&argument.to_string()),
        1 => out.push_str(&format!("-{}", u128::from(argument) + 1)),
        2 | 3 => {
            let (content, after) = rest.split_at(argument as usize);
            rest = after;
            match major {
                2 => out.push_str(&format!("h'{}'", data_encoding::HEXLOWER.encode(content))),
                _ => out.push_str(&format!("{:?}", std::str::from_utf8(content).expect("gated text"))),
            }
        }
        4 | 5 => {
            out.push(if major == 4 { '[' } else { '{' });
            for index in 0..argument {
                if index > 0 {
                    out.push_str(", ");
                }
                if major == 5 {
                    rest = item(rest, out);
                    out.push_str(": ");
                }
                rest = item(rest, out);
            }
            out.push(if major == 4 { ']' } else { '}' });
        }
        _ => out.push_str(["false", "true", "null"][argument as usize - 20]),
    }
    rest
}

fn head(bytes: &[u8]) -> (u8, u64, &[u8]) {
    let (major, low) = (bytes[0] >> 5, bytes[0] & 0x1f);
    let width = match low {
        24..=27 => 1 << (low - 24),
        _ => return (major, u64::from(low), &bytes[1..]),
    };
    let argument = bytes[1..=width].iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    (major, argument, &bytes[1 + width..])
}
