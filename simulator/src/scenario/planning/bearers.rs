//! Bearers: their costs, limits and channels.

use super::Planning;
use crate::plan::{Bearer, Bursts};
use crate::scenario::model;
use crate::scenario::problem::Problem;
use crate::scenario::quantity::Size;
use m2mesh::link::windows::Windows;
use m2mesh::net::emulation::Recovery;
use m2mesh::wire::lsa;
use toml::Spanned;

impl Planning<'_> {
    pub(super) fn plan_bearers(&self) -> Result<Vec<Bearer>, Problem> {
        let mut all: Vec<_> = self.model.bearers.iter().collect();
        all.sort_by_key(|(name, _)| name.span().start);
        if all.is_empty() {
            let hint = "add a table, as [bearers.radio] with delay = \"20ms\"";
            return Err(self.document.whole("there is no bearer, so nothing can be sent", hint));
        }
        let above_zero = |value: &Option<Spanned<f64>>, key: &str| match value {
            Some(value) if !(*value.get_ref() > 0.0 && value.get_ref().is_finite()) => Err(self.document.problem(
                &value.span(),
                format!("`{key}` is {}", value.get_ref()),
                "write metres above zero, or leave it out for any distance",
            )),
            _ => Ok(value.as_ref().map(|value| *value.get_ref())),
        };
        let planned = all.into_iter().map(|(name, bearer)| {
            let price = self.price(bearer.price.as_ref(), "write what a megabyte costs, 0 or more")?;
            let price_packet = self.price(bearer.price_packet.as_ref(), "write what a packet costs, 0 or more")?;
            let [transmit, receive] = [bearer.transmit, bearer.receive].map(|energy| energy.map(|energy| energy.0));
            let told = bearer.energy.map(|millijoules| f64::from(millijoules) / 1e9);
            let both = transmit.unwrap_or_default() + receive.unwrap_or_default();
            Ok(Bearer {
                name: name.get_ref().clone(),
                price,
                price_packet,
                channel: bearer.channel.as_ref().map(|channel| channel.get_ref().0),
                collisions: self.collisions(bearer)?,
                bursts: self.bursts(bearer)?,
                transport: match bearer.transport {
                    None | Some(model::Transport::Tcp) => Recovery::Tcp,
                    Some(model::Transport::Quic) => Recovery::Quic,
                },
                transmit: transmit.or(told).unwrap_or_default(),
                receive: receive.unwrap_or_default(),
                reach: above_zero(&bearer.reach, "reach")?,
                windows: Windows::new(bearer.windows.iter().map(|window| window.0)),
                class: bearer.class.unwrap_or_else(|| named(name.get_ref())),
                energy: bearer.energy.unwrap_or((both * 1e9).round() as u32),
                mtu: self.mtu(bearer.mtu.as_ref())?,
                rate: bearer.rate.map(|rate| rate.0),
                quota: bearer.quota.as_ref().map(|quota| (quota.get_ref().bytes.0, quota.get_ref().every.0)),
                duty: self.duty(bearer)?,
                metered: bearer.metered.unwrap_or(price + price_packet > 0.0 || bearer.duty.is_some()),
                setup: bearer.setup.map(|setup| setup.0),
                keep_alive: bearer.keep_alive.map(|rest| rest.0),
            })
        });
        planned.collect()
    }

    fn mtu(&self, given: Option<&Spanned<Size>>) -> Result<Option<u32>, Problem> {
        let Some(given) = given else { return Ok(None) };
        let mtu = u32::try_from(given.get_ref().0).ok().filter(|mtu| LEAST_MTU <= *mtu);
        mtu.map(Some).ok_or_else(|| {
            let what = format!("no bearer's largest packet has {} bytes", given.get_ref().0);
            self.document.problem(&given.span(), what, format!("write {LEAST_MTU} or more, or leave `mtu` out"))
        })
    }

    fn price(&self, given: Option<&Spanned<f64>>, hint: &str) -> Result<f64, Problem> {
        match given {
            Some(price) if !(*price.get_ref() >= 0.0 && price.get_ref().is_finite()) => {
                Err(self.document.problem(&price.span(), format!("the price is {}", price.get_ref()), hint))
            }
            price => Ok(price.map_or(0.0, |price| *price.get_ref())),
        }
    }

    fn duty(&self, bearer: &model::Bearer) -> Result<Option<f64>, Problem> {
        let Some(duty) = &bearer.duty else { return Ok(None) };
        let hint = match duty.get_ref().0 > 0.0 {
            true if bearer.rate.is_some() || bearer.channel.is_some() => return Ok(Some(duty.get_ref().0)),
            true => "add `rate`, by which the time on air is reckoned",
            false => "write a part of the hour above zero, as \"1%\", or leave `duty` out",
        };
        Err(self.document.problem(&duty.span(), "nothing could be sent by that duty cycle", hint))
    }

    fn collisions(&self, bearer: &model::Bearer) -> Result<Option<f64>, Problem> {
        let Some(share) = &bearer.collisions else { return Ok(None) };
        if bearer.channel.is_none() || bearer.reach.is_none() {
            let hint = "add `channel` and `reach`: frames collide on a channel that is shared by those near each other";
            return Err(self.document.problem(&share.span(), "nothing says whose frames collide", hint));
        }
        Ok(Some(share.get_ref().0))
    }

    fn bursts(&self, bearer: &model::Bearer) -> Result<Option<Bursts>, Problem> {
        let Some(bursts) = &bearer.bursts else { return Ok(None) };
        let model::Bursts { good, bad, loss } = *bursts.get_ref();
        let (good, bad, loss) = (good.0, bad.0, loss.0);
        if loss == 0.0 {
            let hint = "raise `loss`, or leave `bursts` out";
            return Err(self.document.problem(&bursts.span(), "nothing is lost in these bursts", hint));
        }
        if self.length().as_secs_f64() / (good + bad).as_secs_f64() > MOST_BURSTS {
            let what = format!("there would be more than {MOST_BURSTS} bursts of one channel");
            return Err(self.document.problem(&bursts.span(), what, "lengthen `good` or `bad`"));
        }
        Ok(Some(Bursts { good, bad, loss }))
    }
}

/// Returns the class of that name, or the one for bearers of unknown class.
fn named(name: &str) -> lsa::Bearer {
    lsa::Bearer::ALL.into_iter().find(|class| class.name() == name).unwrap_or_default()
}

/// The size in bytes of the smallest packet that a bearer may have: a short message.
const LEAST_MTU: u32 = 16;
/// The number of bursts of one channel or link in a run.
const MOST_BURSTS: f64 = 1e8;
