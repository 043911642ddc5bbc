//! What must hold when things go wrong: kills, losses of power, full and damaged disks, mistakes, lost passphrases. On
//! real processes and real disks; short here, longer by the environment variables that the files name.

mod core_dumps;
mod custody_kill;
mod custody_power;
mod damage;
mod mistakes;
mod node_disk;
mod node_kill;
mod node_stop;
mod node_stuck;
mod passphrase;
mod power;
mod power_loss;
mod removed_files;
mod store_kill;
