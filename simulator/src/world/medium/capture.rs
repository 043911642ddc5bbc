//! Capture: the bytes of one link as packets in a file, for Wireshark and similar programs.
//!
//! The simulator has streams and no packets, so it makes packets of the streams as a wire would have them: each stream
//! is a TCP connection over IPv4 between the addresses that the devices have on the bearer, opened with a handshake,
//! cut into segments of one packet each, and ended with FIN or RST. Times are those of the wall clock in the
//! simulation. The comment of each packet states the purpose of its stream, and whether the packet does not get
//! through.
//!
//! The file is pcapng (draft-ietf-opsawg-pcapng): a section, an interface for each bearer over which the two devices
//! can link, then the packets, with times in nanoseconds. The link type is LINKTYPE_RAW (101), an IP packet without a
//! preceding header.
//!
//! Invariants
//! 1. The sequence numbers of each stream and direction have no gaps: a reassembly of the packets gives the bytes of
//!    the stream.
//! - The same run gives the same file.

use super::{Medium, NANOS, PURPOSES, Purpose, now};
use crate::plan::Plan;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// A capture: see the module's documentation.
pub struct Capture {
    path: PathBuf,
    file: BufWriter<File>,
    /// By edge: the number of its interface.
    edges: BTreeMap<usize, u32>,
    /// The open streams, by their identifiers.
    streams: BTreeMap<usize, Conversation>,
    /// The number of streams so far; each has a port of its own.
    opened: u16,
    /// The wall time at the clock's zero, in nanoseconds.
    start: u64,
    /// The first error.
    broken: Option<io::Error>,
}

/// A stream as a TCP connection; the opener is end 0.
struct Conversation {
    port: u16,
    /// The next sequence number of each end.
    next: [u32; 2],
    ended: [bool; 2],
}

/// The part of a stream that a packet captures.
#[derive(Clone, Copy, Debug)]
pub(super) enum What<'a> {
    Data(&'a [u8]),
    End,
    Reset,
}

/// A transmission of a stream's end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) edge: usize,
    /// An identifier that is unique among the streams that are open at a time.
    pub(super) stream: usize,
    /// Whether the end that sends has opened the stream.
    pub(super) opener: bool,
    /// The indices of the device that sends, and of the other.
    pub(super) devices: [usize; 2],
    pub(super) what: What<'a>,
    pub(super) purpose: Purpose,
    /// Whether it is under way; otherwise the edge carries nothing at present.
    pub(super) carried: bool,
}

impl Capture {
    /// Creates a file for the links between two devices. The error says what to do next.
    pub fn create(path: &Path, plan: &Plan, ends: &[String; 2]) -> Result<Self, String> {
        let device = |name: &String| {
            let place = plan.devices.iter().position(|device| device.name.as_str() == name);
            place.ok_or_else(|| format!("no node is called {name}; `m2mesh-sim check` tells their groups and numbers"))
        };
        let (a, b) = (device(&ends[0])?, device(&ends[1])?);
        let joins = |edge: &&crate::plan::Edge| (edge.a, edge.b) == (a, b) || (edge.a, edge.b) == (b, a);
        let mut interfaces = Vec::new();
        let mut edges = BTreeMap::new();
        for (number, edge) in plan.edges.iter().enumerate().filter(|(_, edge)| joins(edge)) {
            edges.insert(number, u32::try_from(interfaces.len()).unwrap_or(u32::MAX));
            interfaces.push(format!("{} - {} over {}", ends[0], ends[1], plan.bearers[edge.bearer].name));
        }
        if edges.is_empty() {
            return Err(format!("{} and {} can have no link; name two devices that can", ends[0], ends[1]));
        }
        let failed = |error: io::Error| format!("{}: {error}; check the path", path.display());
        let mut file = BufWriter::new(File::create(path).map_err(failed)?);
        let mut begin = section();
        interfaces.iter().for_each(|name| begin.extend(interface(name)));
        file.write_all(&begin).map_err(failed)?;
        let start = plan.start.0.saturating_mul(1_000);
        Ok(Self { path: path.to_owned(), file, edges, streams: BTreeMap::new(), opened: 0, start, broken: None })
    }

    fn handle_piece(&mut self, piece: &Piece<'_>, addresses: [Ipv4Addr; 2]) {
        let Some(&interface) = self.edges.get(&piece.edge) else { return };
        let at = self.start + now().saturating_sub(NANOS);
        let end = usize::from(!piece.opener);
        let mut comment = PURPOSES[piece.purpose as usize].to_owned();
        if !piece.carried {
            comment.push_str(", does not get through at present");
        }
        let mut packets = Vec::new();
        let opened = &mut self.opened;
        let stream = self.streams.entry(piece.stream).or_insert_with(|| {
            let port = FIRST_PORT + *opened % PORTS;
            *opened = opened.wrapping_add(1);
            let mut stream = Conversation { port, next: [0; 2], ended: [false; 2] };
            packets.push(stream.segment(0, &addresses, end, SYN, &[]));
            packets.push(stream.segment(1, &addresses, end, SYN | ACK, &[]));
            packets.push(stream.segment(0, &addresses, end, ACK, &[]));
            stream
        });
        match piece.what {
            What::Data(bytes) => {
                let last = bytes.len().div_ceil(SEGMENT).saturating_sub(1);
                for (number, part) in bytes.chunks(SEGMENT).enumerate() {
                    let flags = if number == last { PSH | ACK } else { ACK };
                    packets.push(stream.segment(end, &addresses, end, flags, part));
                }
            }
            What::End => packets.push(stream.segment(end, &addresses, end, FIN | ACK, &[])),
            What::Reset => packets.push(stream.segment(end, &addresses, end, RST | ACK, &[])),
        }
        stream.ended[end] |= !matches!(piece.what, What::Data(_));
        if stream.ended == [true; 2] {
            self.streams.remove(&piece.stream);
        }
        for packet in packets {
            let written = self.file.write_all(&enhanced_packet(interface, at, &packet, &comment));
            self.broken = self.broken.take().or(written.err());
        }
    }

    fn finish(&mut self) -> Result<(), String> {
        let flushed = self.file.flush();
        match self.broken.take().or(flushed.err()) {
            None => Ok(()),
            Some(error) => Err(format!("{}: {error}", self.path.display())),
        }
    }
}

impl Conversation {
    /// Writes a packet from `end`; `addresses` are those of the end `first`, and of the other.
    fn segment(&mut self, end: usize, addresses: &[Ipv4Addr; 2], first: usize, flags: u8, payload: &[u8]) -> Vec<u8> {
        let ports = [self.port, super::transport::PORT];
        let [from, to] = if end == first { *addresses } else { [addresses[1], addresses[0]] };
        let mut segment = Vec::with_capacity(TCP + payload.len());
        segment.extend(ports[end].to_be_bytes());
        segment.extend(ports[1 - end].to_be_bytes());
        segment.extend(self.next[end].to_be_bytes());
        segment.extend(if flags & ACK == 0 { [0; 4] } else { self.next[1 - end].to_be_bytes() });
        // Five words of header; a window that never limits the sender; the checksum follows.
        segment.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(payload);
        let length = u16::try_from(segment.len()).unwrap_or(u16::MAX);
        let pseudo = [&from.octets()[..], &to.octets(), &[0, PROTOCOL_TCP], &length.to_be_bytes()].concat();
        let sum = checksum(&[&pseudo, &segment]);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        let counted = u32::try_from(payload.len()).unwrap_or(u32::MAX) + u32::from(flags & (SYN | FIN) != 0);
        self.next[end] = self.next[end].wrapping_add(counted);
        let mut packet = vec![0x45, 0];
        packet.extend((length + IPV4 as u16).to_be_bytes());
        // No fragments; a time to live of 64.
        packet.extend([0, 0, 0x40, 0, 64, PROTOCOL_TCP, 0, 0]);
        packet.extend(from.octets());
        packet.extend(to.octets());
        let sum = checksum(&[&packet]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(segment);
        packet
    }
}

impl Medium {
    /// Begins to capture the traffic over the capture's edges.
    pub fn set_capture(&self, capture: Capture) {
        self.lock().capture = Some(capture);
    }

    /// Ends the capture. The error says what could not be written.
    pub fn finish_capture(&self) -> Result<(), String> {
        self.lock().capture.as_mut().map_or(Ok(()), Capture::finish)
    }

    pub(super) fn captures(&self, edge: usize) -> bool {
        self.lock().capture.as_ref().is_some_and(|capture| capture.edges.contains_key(&edge))
    }

    pub(super) fn handle_piece(&self, piece: &Piece<'_>) {
        let mut state = self.lock();
        let bearer = state.edges[piece.edge].bearer;
        if let Some(capture) = &mut state.capture {
            capture.handle_piece(piece, piece.devices.map(|device| super::transport::ip(device, bearer)));
        }
    }
}

/// Returns the ones' complement of the ones' complement sum of 16-bit words (RFC 1071). All parts but the last have an
/// even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 = words.map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Returns a block: its type, its length at both ends, its body padded to 32 bits.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 12).unwrap_or(u32::MAX);
    [&kind.to_le_bytes()[..], &length.to_le_bytes(), body, &length.to_le_bytes()].concat()
}

/// Returns an option: its code, its length, its value padded to 32 bits.
fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    let mut option = [&code.to_le_bytes()[..], &(value.len() as u16).to_le_bytes(), value].concat();
    option.resize(option.len().next_multiple_of(4), 0);
    option
}

fn section() -> Vec<u8> {
    let mut body = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
    // Version 1.0; the section length is unknown in advance.
    body.extend([1, 0, 0, 0]);
    body.extend([0xff; 8]);
    body.extend(option(4, concat!("m2mesh-sim ", env!("CARGO_PKG_VERSION")).as_bytes()));
    body.extend(option(0, &[]));
    block(0x0a0d_0d0a, &body)
}

fn interface(name: &str) -> Vec<u8> {
    let mut body = LINKTYPE_RAW.to_le_bytes().to_vec();
    body.extend([0; 2]);
    // No limit to the captured bytes of a packet.
    body.extend([0; 4]);
    body.extend(option(2, name.as_bytes()));
    // Times are multiples of 10⁻⁹ s.
    body.extend(option(9, &[9]));
    body.extend(option(0, &[]));
    block(1, &body)
}

fn enhanced_packet(interface: u32, at: u64, packet: &[u8], comment: &str) -> Vec<u8> {
    let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
    let mut body = Vec::with_capacity(packet.len() + 64);
    for word in [interface, (at >> 32) as u32, at as u32, length, length] {
        body.extend(word.to_le_bytes());
    }
    body.extend(packet);
    body.resize(body.len().next_multiple_of(4), 0);
    body.extend(option(1, comment.as_bytes()));
    body.extend(option(0, &[]));
    block(6, &body)
}

/// The link type of a raw IP packet.
const LINKTYPE_RAW: u16 = 101;
const PROTOCOL_TCP: u8 = 6;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
/// The bytes of the headers, without options.
const IPV4: usize = 20;
const TCP: usize = 20;
/// The payload of a packet of 1,500 bytes.
const SEGMENT: usize = 1_500 - IPV4 - TCP;
/// The first port of those who open streams: the dynamic ports (RFC 6335), in order.
const FIRST_PORT: u16 = 49_152;
const PORTS: u16 = 16_384;
