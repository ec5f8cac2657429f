# Reference values for the hazard models: run `Rscript reference.R [folder of cbasp_sessions.csv]` in this folder.
# Simulates sessions.csv (nothing real), fits it with survival, lme4, stats::glm and sandwich, writes reference.json;
# with the folder given also cbasp.json (results only, never the data).
suppressMessages({library(survival); library(lme4); library(sandwich); library(jsonlite)})
versions <- list(R = as.character(getRversion()), survival = as.character(packageVersion("survival")),
                 lme4 = as.character(packageVersion("lme4")), sandwich = as.character(packageVersion("sandwich")))
control <- coxph.control(eps = 1e-13, iter.max = 50)

simulate <- function() {
  set.seed(20240511)
  rows <- list()
  frailty <- rnorm(15, 0, .6)
  for (patient in 1:240) {
    therapist <- sample(15, 1); entry <- sample(1:3, 1, prob = c(.8, .1, .1)); group <- rbinom(1, 1, .5)
    open <- 0; repaired <- 0; day <- 0
    for (session in entry:24) {
      x <- round(rnorm(1), 3)
      p_drop <- plogis(-3.4 + .7 * open - .3 * repaired + .3 * x + .2 * group + frailty[therapist])
      p_done <- plogis(-5 + .15 * session - .3 * open)
      p_move <- .008
      u <- runif(1)
      ending <- if (u < p_drop) "dropout" else if (u < p_drop + p_done) "completed" else
        if (u < p_drop + p_done + p_move) "transferred" else ""
      if (session == 24 && ending == "") break
      length <- sample(5:9, 1)
      rows[[length(rows) + 1]] <- data.frame(patient, therapist, group, session, start = session, stop = session + 1,
        day_start = day, day_stop = day + length, x, rupture_open = open, repaired_before = repaired, ending)
      day <- day + length
      if (ending != "") break
      if (open == 1) { if (runif(1) < .35) { open <- 0; repaired <- 1 } } else if (runif(1) < .15) open <- 1
    }
  }
  do.call(rbind, rows)
}
data <- simulate()
write.csv(data, "sessions.csv", row.names = FALSE, quote = FALSE)
data <- read.csv("sessions.csv"); data$ending[is.na(data$ending)] <- ""
data$event <- as.integer(data$ending == "dropout")

terms <- function(beta, se) list(terms = names(beta), estimate = unname(beta), std_error = unname(se))
se <- function(v) sqrt(diag(v))
out <- list(versions = versions)

f <- event ~ rupture_open + repaired_before + x + group + session
for (link in c("logit", "cloglog")) {
  g <- glm(f, binomial(link), data, control = glm.control(epsilon = 1e-14, maxit = 50))
  out[[link]] <- c(terms(coef(g), se(vcov(g))), list(log_likelihood = as.numeric(logLik(g)),
    clustered_groups = unname(se(vcovCL(g, data$therapist, type = "HC0", cadjust = TRUE))),
    clustered_both = unname(se(vcovCL(g, data$therapist, type = "HC1", cadjust = TRUE))),
    clustered_none = unname(se(vcovCL(g, data$therapist, type = "HC0", cadjust = FALSE)))))
  m <- glmer(update(f, . ~ . + (1 | therapist)), data, binomial(link), nAGQ = 25,
             control = glmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-9, maxfun = 1e5)))
  # nAGQ > 1: lme4's log-likelihood leaves out a constant of the data (0 for binary rows)
  out[[paste0("mixed_", link)]] <- c(terms(fixef(m), se(as.matrix(vcov(m)))), list(sd = as.numeric(attr(VarCorr(m)$therapist, "stddev")),
    log_likelihood = as.numeric(logLik(m)), effects = ranef(m)$therapist[, 1]))
}

clocks <- list(session = Surv(data$start, data$stop, data$event), day = Surv(data$day_start, data$day_stop, data$event))
for (clock in names(clocks)) {
  s <- clocks[[clock]]
  for (ties in c("efron", "breslow")) {
    c0 <- coxph(s ~ rupture_open + repaired_before + x + group, data, ties = ties, control = control)
    cl <- coxph(s ~ rupture_open + repaired_before + x + group, data, ties = ties, cluster = therapist, control = control)
    st <- coxph(s ~ rupture_open + repaired_before + x + strata(group), data, ties = ties, control = control)
    dm <- residuals(c0, "martingale")
    out[[paste("cox", clock, ties, sep = "_")]] <- c(terms(coef(c0), se(vcov(c0))), list(clustered_none = unname(se(vcov(cl))),
      log_likelihood = c0$loglik[2], null_log_likelihood = c0$loglik[1], strata_estimate = unname(coef(st)),
      strata_std_error = unname(se(vcov(st))), martingale = unname(head(dm, 200)), score = unname(head(residuals(c0, "score"), 200)),
      schoenfeld = unname(head(residuals(c0, "schoenfeld"), 100)), concordance = unname(concordance(c0)$concordance)))
    for (transform in c("identity", "km")) {
      z <- cox.zph(c0, transform = transform, terms = FALSE)
      out[[paste("cox", clock, ties, sep = "_")]][[paste0("zph_", transform)]] <- unname(z$table[, "chisq"])
    }
  }
  fc <- coxph.control(eps = 1e-12, iter.max = 50, outer.max = 60)
  g <- coxph(s ~ rupture_open + repaired_before + x + group + frailty(therapist, sparse = FALSE, eps = 1e-10), data, control = fc)
  n <- coxph(s ~ rupture_open + repaired_before + x + group + frailty(therapist, dist = "gaussian", sparse = FALSE, eps = 1e-8), data, control = fc)
  h <- g$history[[1]]
  out[[paste0("gamma_", clock)]] <- c(terms(coef(g)[1:4], se(vcov(g))[1:4]), list(variance = h$theta, log_likelihood = h$c.loglik,
    effects = unname(coef(g)[-(1:4)])))
  hn <- n$history[[1]]
  out[[paste0("gaussian_", clock)]] <- c(terms(coef(n)[1:4], se(vcov(n))[1:4]), list(variance = hn$theta, effects = unname(coef(n)[-(1:4)])))
  # prediction along a path: open from session/day 4 on, never repaired
  c0 <- coxph(s ~ rupture_open + repaired_before + x + group, data, control = control)
  if (clock == "session") {
    path <- data.frame(start = 1:15, stop = 2:16, event = 0, rupture_open = as.integer(1:15 >= 4), repaired_before = 0, x = .2, group = 1, id = 1)
    data$s1 <- data$start; data$s2 <- data$stop
    cp <- coxph(Surv(start, stop, event) ~ rupture_open + repaired_before + x + group, data, control = control)
    pr <- survfit(cp, newdata = path, id = id, conf.type = "plain")
    out$path <- list(time = pr$time, survival = pr$surv, std_error_cumhaz = pr$std.err, cumulative_hazard = pr$cumhaz)
  }
}

data$state <- factor(data$ending, levels = c("", "completed", "dropout", "transferred"), labels = c("censor", "completed", "dropout", "transferred"))
aj <- function(fit) list(time = fit$time, states = fit$states, probability = fit$pstate, std_error = fit$std.err, at_risk = fit$n.risk)
out$incidence <- aj(survfit(Surv(start, stop, state) ~ 1, data, id = patient, se.fit = TRUE))
out$incidence_day <- aj(survfit(Surv(day_start, day_stop, state) ~ 1, data, id = patient))
# survfit leaves cluster= unused where there are several states: sum its influence within therapists instead
inf <- survfit(Surv(day_start, day_stop, state) ~ 1, data, id = patient, influence = 1)
of <- data$therapist[match(unique(data$patient), data$patient)]
u <- inf$influence.pstate[, (dim(inf$influence.pstate)[2] - length(inf$time) + 1):dim(inf$influence.pstate)[2], ]
out$incidence_clustered <- aj(inf)
out$incidence_clustered$std_error <- t(sapply(seq_along(inf$time), function(i) sqrt(colSums(rowsum(u[, i, ], of)^2))))
# several states: none, open, repaired, and the endings
data <- data[order(data$patient, data$start), ]
now <- with(data, ifelse(rupture_open == 1, "open", ifelse(repaired_before == 1, "repaired", "none")))
following <- c(now[-1], NA); following[c(data$patient[-1], NA) != data$patient] <- NA
target <- ifelse(data$ending != "", data$ending, ifelse(!is.na(following) & following != now, following, "censor"))
levels <- c("censor", "none", "open", "repaired", "completed", "dropout", "transferred")
data$to <- factor(target, levels = levels); data$from <- factor(now, levels = levels[-1])
ms <- survfit(Surv(day_start, day_stop, to) ~ 1, data, id = patient, istate = from)
out$multistate <- aj(ms)
write_json(out, "reference.json", digits = 12, auto_unbox = TRUE, pretty = FALSE)

folder <- commandArgs(TRUE)
if (length(folder)) {
  d <- read.csv(file.path(folder[1], "cbasp_sessions.csv")); d <- d[order(d$patient, d$session), ]
  last <- ave(d$session, d$patient, FUN = max)
  d$stop <- ave(d$session, d$patient, FUN = function(s) c(s[-1], s[length(s)] + 1))
  d$event <- as.integer(d$session == last & last < 24)
  d$count <- ave(d$symptom_count, d$patient, FUN = function(v) { for (i in seq_along(v)[-1]) if (is.na(v[i])) v[i] <- v[i - 1]; v })
  # a made-up therapist, to have clusters: patients 1, 13, 25, ... share one
  d$unit <- d$patient %% 12
  ref <- list(versions = versions)
  recorded <- coxph(Surv(session, stop, event) ~ symptom_count + group, d, control = control)
  ref$recorded <- c(terms(coef(recorded), se(vcov(recorded))), list(p_value = summary(recorded)$coefficients[, 5], n_events = recorded$nevent))
  for (ties in c("efron", "breslow")) {
    fit <- coxph(Surv(session, stop, event) ~ count + group, d, ties = ties, cluster = unit, control = control)
    ref[[ties]] <- list(estimate = unname(coef(fit)), clustered_none = unname(se(vcov(fit))), std_error = sqrt(diag(fit$naive.var)))
  }
  # one row per session number at risk, missed sessions included, the count carried on
  grid <- do.call(rbind, lapply(split(d, d$patient), function(p) {
    s <- min(p$session):max(p$session); i <- findInterval(s, p$session)
    data.frame(patient = p$patient[1], unit = p$unit[1], group = p$group[1], session = s, count = p$count[i],
               event = as.integer(s == max(s) & max(s) < 24))
  }))
  for (link in c("logit", "cloglog")) {
    g <- glm(event ~ count + group + session, binomial(link), grid, control = glm.control(epsilon = 1e-14, maxit = 50))
    ref[[link]] <- c(terms(coef(g), se(vcov(g))), list(clustered_groups = unname(se(vcovCL(g, grid$unit, type = "HC0"))), n_rows = nrow(grid)))
  }
  gf <- coxph(Surv(session, session + 1, event) ~ count + group + frailty(unit, sparse = FALSE, eps = 1e-10), grid, control = fc)
  ref$gamma <- list(estimate = unname(coef(gf)[1:2]), std_error = unname(se(vcov(gf))[1:2]), variance = gf$history[[1]]$theta)
  aj1 <- survfit(Surv(session, session + 1, factor(ifelse(event == 1, 1, ifelse(session == ave(session, patient, FUN = max), 2, 0)))) ~ 1, grid, id = patient)
  ref$incidence <- list(time = aj1$time, probability = aj1$pstate, std_error = aj1$std.err)
  write_json(ref, "cbasp.json", digits = 15, auto_unbox = TRUE)
}
