//! Device: opening a serial device, and what to do where that fails.

use super::LineConfig;
use serde::{Deserialize, Serialize};
use serial2_tokio::{FlowControl, SerialPort, Settings};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// An open device.
pub(super) trait Device: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Device for T {}

/// Opens devices. The error says what is wrong and what to do.
pub(super) type Open = Arc<dyn Fn(&LineConfig) -> Result<Box<dyn Device>, String> + Send + Sync>;

/// How a device is held back while it cannot take more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flow {
    /// Not at all: the line takes what its rate says.
    #[default]
    None,
    /// By XON and XOFF.
    Software,
    /// By RTS and CTS.
    Hardware,
}

/// Opens the machine's devices: eight bits, no parity, one stop bit.
pub(super) fn of_machine() -> Open {
    Arc::new(|config| {
        let LineConfig { device, baud, flow, .. } = config;
        let port = SerialPort::open(device, |mut settings: Settings| {
            settings.set_raw();
            settings.set_baud_rate(*baud)?;
            settings.set_flow_control(match flow {
                Flow::None => FlowControl::None,
                Flow::Software => FlowControl::XonXoff,
                Flow::Hardware => FlowControl::RtsCts,
            });
            Ok(settings)
        });
        let port = port.map_err(|error| explain(config, &error))?;
        // What the device has received before is of no session.
        let _ = port.discard_buffers();
        Ok(Box::new(port))
    })
}

/// Says what is wrong with a device, and what to do.
fn explain(config: &LineConfig, error: &io::Error) -> String {
    let (device, baud) = (config.device.display(), config.baud);
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!("there is no {device}: plug it in, or correct `device` under [[serial]]; it is tried again")
        }
        io::ErrorKind::PermissionDenied => format!(
            "{device} may not be opened by this user: add the user to the group that owns it, often `dialout` (`ls -l {device}` shows it)"
        ),
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported | io::ErrorKind::Other => format!(
            "{device} cannot be set to {baud} baud ({error}): correct `baud` and `flow` under [[serial]], and check that it is a serial device"
        ),
        _ => format!(
            "{device} cannot be opened ({error}): check that it is a serial device and that no other program has it"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::windows::Windows;
    use core::time::Duration;

    #[test]
    fn an_error_says_what_to_do() {
        let config = LineConfig {
            device: "/dev/ttyUSB9".into(),
            baud: 12_345,
            mtu: 256,
            flow: Flow::None,
            bearer: 0,
            keep: Duration::from_secs(15),
            windows: Windows::default(),
        };
        let said = |kind: io::ErrorKind| explain(&config, &kind.into());
        assert!(said(io::ErrorKind::NotFound).contains("plug it in"));
        assert!(said(io::ErrorKind::PermissionDenied).contains("dialout"));
        assert!(said(io::ErrorKind::InvalidInput).contains("12345 baud"));
        assert!(said(io::ErrorKind::ConnectionReset).contains("/dev/ttyUSB9"));
    }
}
