//! A plain TAP device in a namespace: whole Ethernet frames, no offloads.

use super::netns::Netns;
use nix::libc;
use std::fs::File;
use std::io::{Error, Read, Result, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

// linux/if_tun.h
nix::ioctl_write_ptr_bad!(set_interface, nix::request_code_write!(b'T', 202, 4), libc::ifreq);
nix::ioctl_write_ptr!(set_carrier, b'T', 226, libc::c_int);

/// A TAP device; it goes away with this handle.
pub struct Tap {
    file: File,
}

impl Tap {
    /// Make the device `name` in a namespace.
    pub fn open(namespace: &Netns, name: &str) -> Result<Tap> {
        assert!(name.len() < libc::IFNAMSIZ, "{name} is too long for a device");
        namespace.run(|| {
            let file = File::options()
                .read(true)
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open("/dev/net/tun")?;
            // SAFETY: a structure of integers and arrays, for which all zeroes is a value.
            let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
            for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
                *to = from as libc::c_char;
            }
            request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
            // SAFETY: the descriptor is open and the structure outlives the call.
            unsafe { set_interface(file.as_raw_fd(), &request) }.map_err(Error::from)?;
            Ok(Tap { file })
        })
    }

    /// The next frame, if there is one.
    pub fn read(&self, buffer: &mut [u8]) -> Option<usize> {
        (&self.file).read(buffer).ok()
    }

    /// Hand a frame to the device. It is lost if the device is down, as on a cable.
    pub fn write(&self, frame: &[u8]) {
        let _ = (&self.file).write(frame);
    }

    /// Plug the cable in or out.
    pub fn set_carrier(&self, on: bool) -> Result<()> {
        let value = libc::c_int::from(on);
        // SAFETY: the descriptor is open and the integer outlives the call.
        unsafe { set_carrier(self.file.as_raw_fd(), &value) }.map_err(Error::from)?;
        Ok(())
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
