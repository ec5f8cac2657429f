# Strata, sparse events and CR3: writes strata.json from sessions.csv (made by reference.R). Run: Rscript strata.R
suppressMessages({library(survival); library(brglm2); library(clubSandwich); library(jsonlite)})
out <- list(versions = list(R = as.character(getRversion()), survival = as.character(packageVersion("survival")),
  brglm2 = as.character(packageVersion("brglm2")), clubSandwich = as.character(packageVersion("clubSandwich"))))
data <- read.csv("sessions.csv"); data$ending[is.na(data$ending)] <- ""
data$event <- as.integer(data$ending == "dropout")
control <- coxph.control(eps = 1e-14, iter.max = 50)
clocks <- list(session = Surv(data$start, data$stop, data$event), day = Surv(data$day_start, data$day_stop, data$event))
for (clock in names(clocks)) for (ties in c("efron", "breslow")) {
  s <- clocks[[clock]]
  whole <- coxph(s ~ rupture_open + repaired_before + x + group, data, ties = ties, control = control)
  split <- coxph(s ~ rupture_open + repaired_before + x + strata(group), data, ties = ties, control = control)
  zph <- function(fit) sapply(c(identity = "identity", km = "km", rank = "rank", log = "log"), function(g)
    unname(cox.zph(fit, transform = g, terms = FALSE)$table[, "chisq"]), simplify = FALSE)
  con <- concordance(split)
  out[[paste(clock, ties, sep = "_")]] <- list(whole = zph(whole), strata = zph(split),
    concordance = unname(con$concordance))
}
# sparse events: the first 40 patients
few <- data[data$patient %in% unique(data$patient)[1:40], ]
g <- glm(event ~ rupture_open + repaired_before + x, binomial, few, method = "brglmFit", type = "MPL_Jeffreys",
         control = list(epsilon = 1e-14, maxit = 1000))
out$firth_logit <- list(estimate = unname(coef(g)), std_error = unname(sqrt(diag(vcov(g)))))
# CR3: clubSandwich's has no factor (G - 1) / G
for (link in c("logit", "cloglog")) {
  g <- glm(event ~ rupture_open + repaired_before + x + group + session, binomial(link), data,
           control = glm.control(epsilon = 1e-14, maxit = 50))
  out[[paste0("cr3_", link)]] <- unname(sqrt(diag(vcovCR(g, cluster = data$therapist, type = "CR3"))))
}
write_json(out, "strata.json", digits = 12, auto_unbox = TRUE)
